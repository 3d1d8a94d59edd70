package enroll

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/smallstep/certificates/authority/provisioner"
)

// checkSignOptions goes through what a provisioner demands of the certificate that
// step-ca would make, and refuses whatever Handfast would have to obey but does not.
// Names, lifetime and extensions come from the registry and the profile here, so
// options about those alone change nothing; anything else, and anything unknown, is an error.
func checkSignOptions(self provisioner.Interface, options []provisioner.SignOption) error {
	if len(options) == 0 {
		return errors.New("the provisioner returned no decision")
	}
	recognised := false
	for _, option := range options {
		switch o := option.(type) {
		case provisioner.Interface:
			// A registration authority's token comes wrapped: it speaks for somebody else.
			if o != self {
				return fmt.Errorf("a %T stands in for the provisioner", o)
			}
			recognised = true
		case provisioner.CertificateRequestValidator:
			if err := demandsNothing(o); err != nil {
				return err
			}
		case provisioner.CertificateValidator, provisioner.CertificateModifier, provisioner.CertificateEnforcer:
			// About validity, SAN policy and step's own extension of a certificate that is never made.
		case provisioner.CertificateOptions:
			// A template of a certificate that is never made.
		case *provisioner.WebhookController:
			// Providers are built without webhooks, so there is nobody to ask.
		default:
			return fmt.Errorf("an option of type %T is unknown", o)
		}
	}
	if !recognised {
		return errors.New("the provisioner did not name itself")
	}
	return nil
}

// demandsNothing shows the validator a request without any name. One about names
// accepts it, because it has none that are not allowed; one that binds the token to a
// certain request (the cnf claim) does not, and could not be honoured: only the key of
// a request is ever used here.
func demandsNothing(v provisioner.CertificateRequestValidator) error {
	blank := &x509.CertificateRequest{PublicKey: &ecdsa.PublicKey{Curve: elliptic.P256()}}
	if err := v.Valid(blank); err != nil {
		return errors.New("the token is bound to one certificate request (cnf), which is not supported")
	}
	return nil
}
