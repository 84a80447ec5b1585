"""The OpenAPI document: what each URL takes and answers, and the models of the answers."""
