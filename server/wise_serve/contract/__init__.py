"""What several rooms share: errors, prompts and masks, closed sets of names, bodies."""
