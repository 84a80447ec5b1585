# What `state.apply` without a name applies.
base:
  "*":
    - hello
