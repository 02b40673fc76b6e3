"""The paper's data sets: training and evaluation as published."""
