// Package keystoretest makes keys cheap to open, for tests that open many: stretching a
// passphrase takes 0.1 s by design, and twenty times that under the race detector. Files
// keep their format and stay encrypted, with fewer rounds, so that the code that opens
// them is the one that operators run.
package keystoretest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"

	// Writes what keystore's secrets are, with a number of rounds of its own.
	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/issuer/keystore"
)

// rounds of PBKDF2: the least that RFC 8018, section 4.2, speaks of.
const rounds = 1000

// QuickenKey rewrites the key at path, which keystore.Create made, with few rounds.
func QuickenKey(path string, passphrase []byte) error {
	signer, closer, err := keystore.Open(context.Background(), keystore.FileScheme+path, passphrase)
	if err != nil {
		return err
	}
	if err := closer.Close(); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return err
	}
	encrypted, err := encrypt(der, passphrase)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted}), 0o600)
}

// QuickenSecret rewrites the secret at path, which keystore.CreateSecret made, with few rounds.
func QuickenSecret(path string, passphrase []byte) error {
	secret, err := keystore.OpenSecret(path, passphrase)
	if err != nil {
		return err
	}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.PBES2_HS256_A128KW, Key: passphrase, PBES2Count: rounds}, nil)
	if err != nil {
		return err
	}
	encrypted, err := encrypter.Encrypt(secret)
	if err != nil {
		return err
	}
	text, err := encrypted.CompactSerialize()
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text+"\n"), 0o600)
}

// The structures of RFC 5958, section 3, and RFC 8018, appendix A.
type encryptedKey struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters struct {
			KDF struct {
				ID         asn1.ObjectIdentifier
				Parameters struct {
					Salt   []byte
					Rounds int
					PRF    pkix.AlgorithmIdentifier
				}
			}
			Cipher struct {
				ID asn1.ObjectIdentifier
				IV []byte
			}
		}
	}
	Data []byte
}

// encrypt is PBES2 with PBKDF2, HMAC-SHA-256 and AES-256-CBC.
func encrypt(plain, passphrase []byte) ([]byte, error) {
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	for _, random := range [][]byte{salt, iv} {
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
	}
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, rounds, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	for range padding {
		plain = append(plain, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)

	out := encryptedKey{Data: plain}
	out.Algorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	kdf := &out.Algorithm.Parameters.KDF
	kdf.ID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	kdf.Parameters.Salt, kdf.Parameters.Rounds = salt, rounds
	kdf.Parameters.PRF = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}
	encryption := &out.Algorithm.Parameters.Cipher
	encryption.ID, encryption.IV = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv
	return asn1.Marshal(out)
}
