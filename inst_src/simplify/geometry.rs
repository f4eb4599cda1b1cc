//! Small vectors in single precision, and the distance from a point to a triangle.
//!
//! Only `+ - * /` and square roots, in a fixed order: the same result on every machine.

pub type Vec3 = [f32; 3];

#[inline(always)]
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[inline(always)]
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[inline(always)]
pub fn scale(a: Vec3, s: f32) -> Vec3 {
    [a[0] * s, a[1] * s, a[2] * s]
}

#[inline(always)]
pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[inline(always)]
pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Twice the area of a triangle, as a vector along its outward normal.
#[inline(always)]
pub fn area_vector(corners: [Vec3; 3]) -> Vec3 {
    cross(sub(corners[1], corners[0]), sub(corners[2], corners[0]))
}

/// Squared distance of two points.
#[inline(always)]
pub fn distance2(a: Vec3, b: Vec3) -> f32 {
    let d = sub(a, b);
    dot(d, d)
}

/// Squared distance from a point to a segment.
#[inline]
fn segment2(p: Vec3, a: Vec3, b: Vec3) -> f32 {
    let (ab, ap) = (sub(b, a), sub(p, a));
    let length2 = dot(ab, ab);
    let t = if length2 > 0.0 { (dot(ap, ab) / length2).clamp(0.0, 1.0) } else { 0.0 };
    distance2(ap, scale(ab, t))
}

/// Squared distance from a point to a triangle, which may be degenerate.
///
/// The true distance or, by rounding alone, slightly more or less: the point that is measured to lies on the triangle.
#[inline]
pub fn triangle2(p: Vec3, corners: [Vec3; 3]) -> f32 {
    let [a, b, c] = corners;
    let (ab, ac, ap) = (sub(b, a), sub(c, a), sub(p, a));
    let normal = cross(ab, ac);
    let area2 = dot(normal, normal);
    if area2 > 0.0 {
        // barycentric coordinates of the foot of the perpendicular
        let beta = dot(cross(ap, ac), normal);
        let gamma = dot(cross(ab, ap), normal);
        if beta >= 0.0 && gamma >= 0.0 && beta + gamma <= area2 {
            let foot = add(scale(ab, beta / area2), scale(ac, gamma / area2));
            return distance2(ap, foot);
        }
    }
    segment2(p, a, b).min(segment2(p, b, c)).min(segment2(p, c, a))
}

/// Whether a face with the area vector `new` still looks along `reference`, within about `acos(cosine)`.
#[inline(always)]
pub fn looks_along(new: Vec3, reference: Vec3, cosine: f32) -> bool {
    let along = dot(new, reference);
    along > 0.0 && along * along > cosine * cosine * dot(new, new) * dot(reference, reference)
}

/// Whether a triangle is so thin that its normal means little.
#[inline(always)]
pub fn is_sliver(corners: [Vec3; 3], area: Vec3) -> bool {
    let longest =
        distance2(corners[0], corners[1]).max(distance2(corners[1], corners[2])).max(distance2(corners[2], corners[0]));
    // the height above the longest edge is less than a hundredth of that edge
    dot(area, area) <= 1e-4 * longest * longest
}
