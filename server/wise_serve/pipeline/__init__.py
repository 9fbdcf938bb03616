"""One request: admission before its body is read, then the stages in order, and the results."""
