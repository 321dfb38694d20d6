"""From labels to images: parameters, the public `synthesize`, NIfTI in and out."""
