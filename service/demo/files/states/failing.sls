good:
  test.succeed_without_changes

bad:
  test.fail_without_changes
