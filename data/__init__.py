"""Raw data to prepared datasets: the embedded rooms, importers, splits, view plans and what probes read of them."""
