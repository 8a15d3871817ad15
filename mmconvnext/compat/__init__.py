"""What the surroundings lack; each part says which lack, and does nothing where it is absent."""
