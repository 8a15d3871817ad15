"""Foreign weights in, native weights out."""
