"""The inside of a network, opened: the gradient with each known mistake planted in it.

`model` is the way forward and back in float64 with a bound for the script's rounding, `mistakes`
the table of what people get wrong, `walk` the search on the way back from the loss.
"""
