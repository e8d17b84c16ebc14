"""Pictures of the report: features, clusters, depth and point clouds, from stores, predictions and datasets."""
