package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Sizes of a picture, in pixels.
const (
	width    = 720
	labels   = 170 // the column of names
	values   = 110 // the column of numbers
	barStep  = 30
	barThick = 18
	topSpace = 44
)

// SVG draws a figure as bars, ours first, with a line from the lowest round to the highest.
// It has no colours of its own for text, so that it reads on light and dark pages.
func SVG(f Figure) string {
	height := topSpace + barStep*len(f.Series) + 10
	highest := 0.0
	for _, s := range f.Series {
		highest = max(highest, s.Max)
	}
	if highest <= 0 {
		highest = 1
	}
	scale := func(v float64) float64 { return v / highest * (width - labels - values) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13" role="img">`+"\n", width, height)
	title := html.EscapeString(fmt.Sprintf("%s, %s", f.What, f.Unit))
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"24\" font-weight=\"bold\">%[1]s</text>\n", title)
	for i, s := range f.Series {
		y := topSpace + barStep*i
		fill := "#9aa5b1"
		if i == 0 {
			fill = "#2f6f4f"
		}
		middle := y + barThick/2
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labels-8, middle+5, html.EscapeString(s.Who))
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", labels, y, scale(s.Median), barThick, fill)
		fmt.Fprintf(&b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%[2]d\" stroke=\"#1f2933\" stroke-width=\"2\"/>\n", labels+scale(s.Min), middle, labels+scale(s.Max))
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", labels+scale(s.Max)+8, middle+5, number(s.Median))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// Pictures says which figures are worth a picture: the first one of each comparison, which
// is the processor time.
func Pictures(figures []Figure) []Figure {
	return slices.DeleteFunc(slices.Clone(figures), func(f Figure) bool {
		return len(f.Series) < 2 || !strings.HasSuffix(f.Name, "-cpu") && !strings.HasSuffix(f.Name, "-memory")
	})
}
