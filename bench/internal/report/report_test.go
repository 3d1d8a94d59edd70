package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/bench/internal/report"
)

func figure() report.Figure {
	return report.Figure{
		Bench: "issue", Name: "issue-cpu", What: "CPU of the server per certificate", Unit: "us/cert",
		Series: []report.Series{report.NewSeries("handfast", 300, 250, 260), report.NewSeries("step-ca <x>", 1000, 1040, 1300)},
	}
}

func TestLines(t *testing.T) {
	got := strings.Join(figure().Lines(), "\n")
	if want := "bench issue-cpu ours=260 peer=step-ca <x>:1040 ratio=0.250 unit=us/cert"; got != want {
		t.Errorf("lines\n%s\nwant\n%s", got, want)
	}
	alone := figure()
	alone.Series = alone.Series[:1]
	got = strings.Join(alone.Lines(), "\n")
	if want := "bench issue-cpu ours=260 peer=- ratio=- unit=us/cert"; got != want {
		t.Errorf("lines\n%s\nwant\n%s", got, want)
	}
}

func TestPrimitivesAreNotOurs(t *testing.T) {
	f := figure()
	f.Series = []report.Series{report.NewSeries("primitive", 70)}
	got := strings.Join(f.Lines(), "\n")
	if want := "bench issue-cpu ours=- peer=primitive:70.0 ratio=- unit=us/cert"; got != want {
		t.Errorf("lines\n%s\nwant\n%s", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	got := report.Markdown([]report.Figure{figure()})
	if want := "| CPU of the server per certificate | us/cert | **260** (250 to 300) | step-ca <x> | **1040** (1000 to 1300) | 0.250 |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the table ends otherwise than %q:\n%s", want, got)
	}
	alone := figure()
	alone.Series = alone.Series[:1]
	if got, want := report.Markdown([]report.Figure{alone}), "| CPU of the server per certificate | us/cert | **260** (250 to 300) |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the table of what has no peer ends otherwise than %q:\n%s", want, got)
	}
	if got := report.Markdown([]report.Figure{figure(), alone}); !strings.HasSuffix(got, "**260** (250 to 300) |  |  |  |\n") {
		t.Errorf("what has no peer is missing among others:\n%s", got)
	}
	plain := figure()
	plain.Series = []report.Series{report.NewSeries("primitive", 70)}
	got = report.Markdown([]report.Figure{plain})
	if want := "| CPU of the server per certificate | us/cert | **70.0** |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the table ends otherwise than %q:\n%s", want, got)
	}
}

func TestTableComparesRoundByRound(t *testing.T) {
	var b strings.Builder
	if err := report.Table(&b, []report.Figure{figure()}); err != nil {
		t.Fatal(err)
	}
	last := strings.Split(strings.TrimSpace(b.String()), "\n")[2]
	// 300/1000, 250/1040 and 260/1300: the median is not the ratio of the medians.
	if got, want := strings.Join(strings.Fields(last)[6:], " "), "us/cert 0.240 0.200 0.300"; got != want {
		t.Errorf("the row ends in %q, want %q", got, want)
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	decoder := xml.NewDecoder(strings.NewReader(report.SVG(figure())))
	bars := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 { // the background and one each
		t.Errorf("%d rectangles, want 3", bars)
	}
}

func TestResultsKeepOtherBenchmarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	earlier, err := report.Load(path)
	if err != nil {
		t.Fatalf("a missing file: %v", err)
	}
	crl := figure()
	crl.Bench, crl.Name = "crl", "crl-cpu"
	earlier.Replace([]report.Figure{figure(), crl})
	if err := earlier.Save(path); err != nil {
		t.Fatal(err)
	}
	later, err := report.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	again := figure()
	again.What = "measured anew"
	later.Replace([]report.Figure{again})
	if len(later.Figures) != 2 || later.Figures[0].Name != "crl-cpu" || later.Figures[1].What != "measured anew" {
		t.Errorf("figures %+v, want crl's and the new one of issue", later.Figures)
	}
}

func TestInsert(t *testing.T) {
	const document = "a\n<!-- begin issue -->\nold\n<!-- end issue -->\nb\n"
	got, err := report.Insert([]byte(document), "issue", "new\n")
	if want := strings.Replace(document, "old", "new", 1); err != nil || string(got) != want {
		t.Errorf("Insert = %q, %v; want %q", got, err, want)
	}
	if _, err := report.Insert([]byte(document), "renew", "new\n"); err == nil {
		t.Error("Insert succeeds without a place")
	}
}

func TestPicturesAreOfComparisons(t *testing.T) {
	rate, alone := figure(), figure()
	rate.Name = "issue-rate"
	alone.Series = alone.Series[:1]
	if got := report.Pictures([]report.Figure{figure(), rate, alone}); len(got) != 1 || got[0].Name != "issue-cpu" {
		t.Errorf("pictures of %v, want of issue-cpu only", got)
	}
}
