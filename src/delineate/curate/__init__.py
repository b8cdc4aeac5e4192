"""Tools for datasets: convert, check, count, split, merge, cut and show. Each is a function on `Dataset`."""
