//! From remote values to the content of one Secret. Pure: values in, a [`Projection`] or a [`ProjectionError`] out.
