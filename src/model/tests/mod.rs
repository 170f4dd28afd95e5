mod precisions;
