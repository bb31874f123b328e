"""How good samples are: features, and measures that are pure functions of them."""
