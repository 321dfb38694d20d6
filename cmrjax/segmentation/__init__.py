"""Multi-tissue labels for real images: prediction, and the expert's heart put in."""
