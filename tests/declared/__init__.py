"""What is declared is used, and what is used is declared: read from the code itself, where no comment and no docstring counts."""
