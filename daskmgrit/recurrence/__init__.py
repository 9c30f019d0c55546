"""Parts of every solver of ``w[i+1] = Phi(w[i])``: propagator, meter, initial state, step length."""
