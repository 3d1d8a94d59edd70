package report

import (
	"encoding/xml"
	"strings"
	"testing"
)

func TestGrowthIsAPicture(t *testing.T) {
	svg := Growth{
		Title: "a < b", Across: "certificates", At: []float64{100, 200, 300},
		Panels: []Panel{{Title: "CPU & more", Values: []float64{300, 310, 290}}, {Title: "nothing", Values: []float64{0, 0, 0}}},
	}.SVG()
	var any struct{}
	if err := xml.Unmarshal([]byte(svg), &any); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(svg, "CPU &amp; more") || strings.Count(svg, "<circle") != 6 || strings.Contains(svg, "NaN") {
		t.Errorf("got %.300s", svg)
	}
}
