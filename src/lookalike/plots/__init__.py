"""Plots: data in, matplotlib `Figure` or picture out. Nothing here touches pyplot or its global state."""
