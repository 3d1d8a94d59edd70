// Package holder keeps one view of the CA's feed up to date: it follows the stream, applies each
// statement after it was verified, and resumes from its own position whatever happens. Where a
// stream is not possible it asks again and again instead, and tries the stream now and then.
//
// Nothing that stands between it and the CA is trusted. What is forged, replayed, out of order or
// cut short is refused, counted and said once, and the connection is dropped; what is merely
// held back shows in the view's age, which the one who judges peers by it looks at.
package holder
