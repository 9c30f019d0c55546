"""Parallel Newton over a sliding window of training steps: the numerics, without Dask.

``w[i+1] = Phi_i(w[i])`` is solved for a window of steps at once. The window (:mod:`.window`, plain data) holds a final
state ``W[0]`` and guesses ``W[1 … n]``; slot j leads from ``W[j]`` to ``W[j+1]``. One sweep (:mod:`.sweep`) is:

1. Evaluate each slot by itself, the only part that costs Phi (:mod:`.evaluate`): the image ``Phi(W[j])``, and for
   propagators with separate gradient and update (:mod:`daskmgrit.recurrence.split_propagator`) also the gradient.
   Chunks of slots do this in parallel. The residual is ``R[j] = Phi(W[j]) - W[j+1]``.
2. Accept a prefix (:mod:`.acceptance`): states whose known residuals fit into their share of the tolerance, unchanged,
   and then one more, which becomes the image of the last of these. The count of slots and the sum of squared
   residuals are data: they need one number from each slot. So the residual of all accepted steps is known and at most
   `tol`, a sweep accepts at least one slot, and with ``tol=0`` accepted states are bitwise those of serial training.
3. Correct the other states (a small scan): ``d[j+1] = J[j] d[j] + R[j]``, ``W[j+1] += d[j+1]``, from d = R at the last
   accepted slot. J is the identity (:mod:`.picard`: sums, or the optimizer's own recurrence over the gradients), the
   same matrix for all slots along a few directions (:mod:`.low_rank`), or each slot's Jacobian (:mod:`.full`). Scans
   (:mod:`.scan`) run in fixed groups of slots, numbered from step 0, so that a chunking into whole groups doesn't
   change a bit: a chunk sums (or composes) its groups, the totals are scanned, each chunk applies what comes in.
4. Slide: new slots begin with the last state; their number follows the accepted slots (:mod:`.sizes`).

:mod:`.error_estimate` follows how accepted residuals grow. A slot may be several steps in a row
(:class:`.settings.NewtonSettings`, `interval`); with a window of all slots this is Newton's method on the whole run.
:mod:`.in_one_process` is the reference: any distribution of the work must give its bits.
"""
