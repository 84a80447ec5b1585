"""The program that pipelines call: one file, which needs nothing but Python."""
