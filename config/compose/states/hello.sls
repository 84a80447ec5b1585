# An example: POST / with "client": "local", "tgt": "*", "fun": "state.apply", "arg": ["hello"]
hello:
  test.succeed_without_changes:
    - name: hello from the states of compose.yaml
