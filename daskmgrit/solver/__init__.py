"""One solve from request to result: options, initial guess, iteration, stopping, progress."""
