package certs

import (
	"encoding/json"
	"testing"
)

func TestReason(t *testing.T) {
	for number, name := range map[Reason]string{0: "unspecified", 1: "keyCompromise", 4: "superseded", 8: "removeFromCRL", 10: "aACompromise"} {
		got, err := ParseReason(name)
		if err != nil || got != number || got.String() != name {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := ParseReason("KEYcompromise"); err != nil || got != KeyCompromise {
		t.Errorf("in another case: %v, %v", got, err)
	}
	for _, name := range []string{"", "1", "reason(7)", "compromise"} {
		if got, err := ParseReason(name); err == nil {
			t.Errorf("%q gives %v", name, got)
		}
	}
	if Reason(7).String() != "reason(7)" {
		t.Errorf("the unused number is called %v", Reason(7))
	}
	var r Reason
	if err := json.Unmarshal([]byte(`"superseded"`), &r); err != nil || r != Superseded {
		t.Errorf("%v, %v", r, err)
	}
	if out, err := json.Marshal(Superseded); err != nil || string(out) != `"superseded"` {
		t.Errorf("%s, %v", out, err)
	}
}
