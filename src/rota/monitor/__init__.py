"""Process 6, continuous monitoring: skew, drift, concept drift, performance and efficiency become alerts."""
