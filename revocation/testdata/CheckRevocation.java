// Checks certificates as a Java service would: with CRLs from a store, by OCSP, or with
// an OCSP response that it was given (a staple).
// Each line of standard input is one case, with fields divided by spaces:
//
//   crl  ISSUER LEAF CRL...
//   ocsp ISSUER LEAF
//   response ISSUER LEAF RESPONSE
//
// All are DER files. It prints good, revoked:REASON, or failed:REASON:MESSAGE for each line.

import java.io.*;
import java.nio.file.*;
import java.security.cert.*;
import java.util.*;

class CheckRevocation {
    static final CertificateFactory factory;

    static {
        try {
            factory = CertificateFactory.getInstance("X.509");
        } catch (CertificateException e) {
            throw new IllegalStateException(e);
        }
    }

    static X509Certificate certificate(String path) throws Exception {
        try (InputStream in = new FileInputStream(path)) {
            return (X509Certificate) factory.generateCertificate(in);
        }
    }

    static String check(String[] fields) throws Exception {
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(certificate(fields[1]), null)));
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        if (fields[0].equals("crl")) {
            List<CRL> crls = new ArrayList<>();
            for (String path : Arrays.copyOfRange(fields, 3, fields.length)) {
                try (InputStream in = new FileInputStream(path)) {
                    crls.add(factory.generateCRL(in));
                }
            }
            parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(crls)));
            checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.PREFER_CRLS, PKIXRevocationChecker.Option.NO_FALLBACK));
        } else {
            if (fields[0].equals("response")) {
                checker.setOcspResponses(Map.of(certificate(fields[2]), Files.readAllBytes(Path.of(fields[3]))));
            }
            checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
        }
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(factory.generateCertPath(List.of(certificate(fields[2]))), parameters);
            return "good";
        } catch (CertPathValidatorException e) {
            if (e.getCause() instanceof CertificateRevokedException) {
                return "revoked:" + ((CertificateRevokedException) e.getCause()).getRevocationReason();
            }
            return "failed:" + e.getReason() + ":" + e.getMessage().replace(' ', '-');
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            System.out.println(check(line.split(" ")));
        }
    }
}
