"""HTTP: the application, its routes and layers, bodies in and out, problems, the playground."""
