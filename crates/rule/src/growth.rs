//! Vectors that grow by an eighth: of one that doubles half may be wasted, and much of what waits is in vectors.

/// Lengthens a vector that is as long as its capacity, by an eighth at least: half of a doubled one would be wasted.
pub(crate) fn grow<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) {
    if len > vec.capacity() {
        vec.reserve_exact(len.max(vec.len() + vec.len() / 8) - vec.len());
    }
    vec.resize(len.max(vec.len()), value);
}

/// Appends, growing by an eighth.
pub(crate) fn push<T>(vec: &mut Vec<T>, value: T) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact((vec.len() / 8).max(16));
    }
    vec.push(value);
}
