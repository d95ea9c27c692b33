"""An ordinary user project that closes the loop on a year of real flights; it imports only public `rota` names."""
