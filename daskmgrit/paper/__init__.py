"""The paper's tables and figures, published and measured side by side."""
