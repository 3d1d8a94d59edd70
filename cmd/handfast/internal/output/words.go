package output

import (
	"fmt"
	"time"
)

const day = 24 * time.Hour

// Ago says how far t is from now, in words: "in 47 minutes", "3 days ago".
func Ago(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case d.Abs() < time.Second:
		return "now"
	case d > 0:
		return "in " + Span(d)
	default:
		return Span(-d) + " ago"
	}
}

// Span says a duration in its largest unit, or in the two largest where one would hide
// much: "47 minutes", "1 hour 20 minutes", "3 days". It rounds down.
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(d/time.Second, "second")
	case d < time.Hour:
		return count(d/time.Minute, "minute")
	case d < 10*time.Hour:
		return both(count(d/time.Hour, "hour"), d%time.Hour/time.Minute, "minute")
	case d < 2*day:
		return count(d/time.Hour, "hour")
	case d < 10*day:
		return both(count(d/day, "day"), d%day/time.Hour, "hour")
	case d < 730*day:
		return count(d/day, "day")
	default:
		return count(d/(365*day), "year")
	}
}

// Short is Ago for a column: "in 47m", "3d ago".
func Short(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case t.IsZero():
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d > 0:
		return "in " + shortSpan(d)
	default:
		return shortSpan(-d) + " ago"
	}
}

func shortSpan(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// Stamp writes a time as people and programs can both read it, in UTC.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Moment is Stamp and Ago together.
func Moment(t, now time.Time) string {
	return fmt.Sprintf("%s (%s)", Stamp(t), Ago(t, now))
}

func count(n time.Duration, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func both(first string, n time.Duration, unit string) string {
	if n == 0 {
		return first
	}
	return first + " " + count(n, unit)
}
