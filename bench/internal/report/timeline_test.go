package report

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"
)

func TestTimelineIsAPicture(t *testing.T) {
	values := make([]float64, 2000)
	values[700] = 42
	svg := Timeline{Title: "a < b", Values: values, Shaded: [2]int{500, 600}, Label: "down & out"}.SVG()
	var any struct{}
	if err := xml.Unmarshal([]byte(svg), &any); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(svg, "down &amp; out") || strings.Count(svg, ",") > most+1 {
		t.Errorf("got %.300s", svg)
	}
}

func TestAveraged(t *testing.T) {
	if got := averaged([]float64{1, 3, 5, 7, 10}, 2); !slices.Equal(got, []float64{2, 6, 10}) {
		t.Errorf("got %v", got)
	}
}
