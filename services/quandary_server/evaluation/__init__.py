"""How right predictions are against labels: classes, boxes, and paired comparisons. Pure."""
