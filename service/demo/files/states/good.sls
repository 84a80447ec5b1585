good:
  test.succeed_without_changes
