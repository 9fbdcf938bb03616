"""A request once its body is read: admission, the stages in order, their results."""
