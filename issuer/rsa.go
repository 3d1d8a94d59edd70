package issuer

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"sync"

	// The test for keys out of Infineon's broken library (CVE-2017-15361).
	"github.com/titanous/rocacheck"
)

const (
	rsaExponent = 65537
	// fermatRounds bounds the search for two primes that lie close together. Keys of a
	// sound generator need astronomically many rounds, the broken ones seen in the wild few.
	fermatRounds = 100
	// smallestFactor: moduli with a prime factor up to this are refused, as the
	// CA/Browser Forum's Baseline Requirements, section 6.1.6, ask.
	smallestFactor = 751
)

// checkRSA judges a modulus of an accepted size.
func checkRSA(key *rsa.PublicKey) error {
	if key.E != rsaExponent {
		return fmt.Errorf("RSA exponent %d is not accepted (use %d)", key.E, rsaExponent)
	}
	one := big.NewInt(1)
	if new(big.Int).GCD(nil, nil, key.N, smallPrimes()).Cmp(one) != 0 {
		return fmt.Errorf("RSA modulus has a prime factor of at most %d", smallestFactor)
	}
	if rocacheck.IsWeak(key) {
		return errors.New("RSA key comes from a broken generator (ROCA, CVE-2017-15361); update the device that made it")
	}
	if factorsByFermat(key.N) {
		return errors.New("RSA modulus is the product of two primes that lie close together, so that anybody can factor it")
	}
	return nil
}

// smallPrimes returns the product of the primes up to smallestFactor.
func smallPrimes() *big.Int { return smallPrimesOnce() }

var smallPrimesOnce = sync.OnceValue(func() *big.Int {
	product := big.NewInt(1)
	for n := int64(2); n <= smallestFactor; n++ {
		if p := big.NewInt(n); p.ProbablyPrime(0) {
			product.Mul(product, p)
		}
	}
	return product
})

// factorsByFermat looks for n = (a+b)(a-b) with a close to the square root of n.
// n is odd (checkRSA has ruled out the factor two).
func factorsByFermat(n *big.Int) bool {
	one := big.NewInt(1)
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	b2 := new(big.Int).Mul(a, a)
	b2.Sub(b2, n)
	root, square := new(big.Int), new(big.Int)
	for range fermatRounds {
		if mayBeSquare(b2) && square.Mul(root.Sqrt(b2), root).Cmp(b2) == 0 {
			return true
		}
		// (a+1)^2 - n = a^2 - n + 2a + 1
		b2.Add(b2, square.Lsh(a, 1))
		b2.Add(b2, one)
		a.Add(a, one)
	}
	return false
}

// mayBeSquare spares most square roots: squares leave only 12 of the 64 residues modulo 64.
func mayBeSquare(n *big.Int) bool {
	const squaresModulo64 = 0x0202021202030213
	var low uint
	for i := range 6 {
		low |= n.Bit(i) << i
	}
	return squaresModulo64>>low&1 == 1
}
