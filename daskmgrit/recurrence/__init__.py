"""What every solver of ``w[i+1] = Phi(w[i])`` needs: propagator, meter, initial state, step length."""
