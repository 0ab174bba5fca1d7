"""Formulas for one gradient per patient, one module for each kind of layer.

A layer that has none is trained one patient at a time; `per_patient_gradients` chooses.
"""
