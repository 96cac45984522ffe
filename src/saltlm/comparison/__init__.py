"""Methods and PLMs side by side: scored, transferred, adapted, plotted."""
