"""When something is due in the course of a training."""


def is_due(step: int, every: int, *, last_step: int | None = None) -> bool:
    """Tells whether something done every so many steps is due after a step.

    Args:
      step: steps done, from 1.
      every: period in steps; 0: never, not even at the end.
      last_step: where given, the end of the training is due too.

    Returns:
      True where it is due.
    """
    if every <= 0:
        return False
    return step % every == 0 or step == last_step
