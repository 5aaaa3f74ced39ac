//! Masking: each form with its expected text, then properties over whatever surrounds a secret.

use proptest::prelude::*;

use super::*;

const PLAIN: MaskOptions = MaskOptions { keep_first6: false };

fn sql(text: &str) -> String {
    mask_sql(text, Dialect::PostgreSql, PLAIN).text.into_owned()
}

fn prose(text: &str) -> String {
    mask_plain(text, Dialect::PostgreSql, PLAIN)
        .text
        .into_owned()
}

#[test]
fn statements_lose_their_secrets_and_nothing_else() {
    for (text, expected) in [
        (
            "CREATE ROLE r1 PASSWORD 'leak-2'",
            "CREATE ROLE r1 PASSWORD '***'",
        ),
        (
            "ALTER ROLE r1 ENCRYPTED PASSWORD 'x' VALID UNTIL '2030-01-01'",
            "ALTER ROLE r1 ENCRYPTED PASSWORD '***' VALID UNTIL '2030-01-01'",
        ),
        (
            "alter user u with password $$a'b$$",
            "alter user u with password $$***$$",
        ),
        (
            "ALTER USER u PASSWORD E'a\\'b'",
            "ALTER USER u PASSWORD E'***'",
        ),
        (
            "ALTER USER u PASSWORD 'a'\n'b'",
            "ALTER USER u PASSWORD '***'\n'***'",
        ),
        (
            "ALTER USER u PASSWORD hunter2;",
            "ALTER USER u PASSWORD ***;",
        ),
        (
            "ALTER USER u PASSWORD \"hunter2\"",
            "ALTER USER u PASSWORD \"***\"",
        ),
        (
            "CREATE ROLE r1 PASSWORD <REDACTED>",
            "CREATE ROLE r1 PASSWORD <REDACTED>",
        ),
        ("ALTER ROLE r1 PASSWORD NULL", "ALTER ROLE r1 PASSWORD NULL"),
        (
            "ALTER ROLE r1 /* pw */ PASSWORD -- c\n 'x'",
            "ALTER ROLE r1 /* pw */ PASSWORD -- c\n '***'",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE r1 PASSWORD ''leak-3'''; END $$",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE r1 PASSWORD ''***'''; END $$",
        ),
        (
            "DO $a$ BEGIN EXECUTE $b$ALTER ROLE r PASSWORD 'x'$b$; END $a$",
            "DO $a$ BEGIN EXECUTE $b$ALTER ROLE r PASSWORD '***'$b$; END $a$",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE r1 PASSWORD ' || quote_literal('leak-3'); END $$",
            "DO $$ BEGIN EXECUTE '***' || quote_literal('***'); END $$",
        ),
        (
            "SELECT format('ALTER ROLE %I PASSWORD %L', 'r1', 'leak')",
            "SELECT format('***', '***', '***')",
        ),
        (
            "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password 'x')",
            "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password '***')",
        ),
        (
            "ALTER SERVER s OPTIONS (SET sslkey '/k', ADD passcode 'x')",
            "ALTER SERVER s OPTIONS (SET sslkey '***', ADD passcode 'x')",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password=S3cret-pw! dbname=d' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password=*** dbname=d' PUBLICATION p",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u dbname=d' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u dbname=d' PUBLICATION p",
        ),
        (
            "SELECT dblink_connect('c', 'host=h password=''a b'' user=u')",
            "SELECT dblink_connect('c', 'host=h password=''***'' user=u')",
        ),
        (
            "SELECT dblink('postgresql://u:p%40w@h:5432/d', 'SELECT 1')",
            "SELECT dblink('postgresql://u:***@h:5432/d', 'SELECT 1')",
        ),
        (
            "SELECT dblink('postgresql://u:p/w@h/d?sslmode=x&password=q&a=b')",
            "SELECT dblink('postgresql://u:***@h/d?sslmode=x&password=***&a=b')",
        ),
        (
            "SELECT 'http://h:80/p?x=a@b'",
            "SELECT 'http://h:80/p?x=a@b'",
        ),
        (
            "COPY t TO PROGRAM 'PGPASSWORD=abc psql -h h'",
            "COPY t TO PROGRAM 'PGPASSWORD=*** psql -h h'",
        ),
        (
            "COPY t TO PROGRAM 'mysql -pS3cret -u root'",
            "COPY t TO PROGRAM 'mysql -p*** -u root'",
        ),
        (
            "COPY t TO PROGRAM 'curl -u bob:pw1 --password pw2 https://h'",
            "COPY t TO PROGRAM 'curl -u bob:*** --password *** https://h'",
        ),
        (
            "COPY t TO PROGRAM 'mysqldump --password=abc d'",
            "COPY t TO PROGRAM 'mysqldump --password=*** d'",
        ),
        (
            "COPY t TO PROGRAM 'psql -p5432'",
            "COPY t TO PROGRAM 'psql -p5432'",
        ),
        (
            "COPY t TO PROGRAM 'cat >/dev/null'",
            "COPY t TO PROGRAM 'cat >/dev/null'",
        ),
        (
            "SELECT set_config('app.secret', 'x', false)",
            "SELECT set_config('app.secret', '***', false)",
        ),
        (
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "SELECT pg_catalog.set_config('search_path', '', false)",
        ),
        ("SET app.db_password = 'x'", "SET app.db_password = '***'"),
        (
            "SET app.db_password TO hunter2",
            "SET app.db_password TO ***",
        ),
        (
            "SET password_encryption = 'scram-sha-256'",
            "SET password_encryption = 'scram-sha-256'",
        ),
        (
            "ALTER SYSTEM SET primary_conninfo = 'host=h password=x'",
            "ALTER SYSTEM SET primary_conninfo = 'host=h password=***'",
        ),
        (
            "ALTER SYSTEM SET ssl_passphrase_command = 'echo x'",
            "ALTER SYSTEM SET ssl_passphrase_command = '***'",
        ),
        (
            "SELECT pgp_sym_encrypt('data', 'key')",
            "SELECT pgp_sym_encrypt('***', '***')",
        ),
        (
            "SELECT crypt('pw', gen_salt('bf')) WHERE a = 'b'",
            "SELECT crypt('***', gen_salt('***')) WHERE a = 'b'",
        ),
        (
            "UPDATE u SET password = crypt('pw', gen_salt('bf')) WHERE id = 'b'",
            "UPDATE u SET password = crypt('***', gen_salt('***')) WHERE id = 'b'",
        ),
        (
            "INSERT INTO u(name, password) VALUES ('bob', 'x', 7)",
            "INSERT INTO u(name, password) VALUES ('***', '***', ***)",
        ),
        (
            "INSERT INTO t VALUES ('{\"user\": \"u\", \"password\": \"x\"}')",
            "INSERT INTO t VALUES ('{\"user\": \"u\", \"password\": \"***\"}')",
        ),
        (
            "UPDATE cards SET cvv = 123 WHERE id = 7",
            "UPDATE cards SET cvv = *** WHERE id = 7",
        ),
        ("ALTER ROLE r PASSWORD 'leak", "ALTER ROLE r PASSWORD '***"),
        (
            "ALTER ROLE r PASSWRD 'leak' x",
            "ALTER ROLE r PASSWRD '***' x",
        ),
        ("SELECT 'x' /* password", "SELECT '***"),
        ("SELECT 1 /* password", "SELECT 1 /****"),
        ("SELECT 1/4111111111111111", "SELECT 1/x***********1111"),
        (
            "CREATE USER u IDENTIFIED BY 'x'",
            "CREATE USER u IDENTIFIED BY '***'",
        ),
        (
            r"SELECT E'\x34\u0031\61\61 \x31111\x2d1111-1111'",
            r"SELECT E'**** ****\x2d****-1111'",
        ),
        (
            r"SELECT U&'\0034111\+000031111 1111 1111'",
            r"SELECT U&'******** **** 1111'",
        ),
        (
            r"EXECUTE E'ALTER ROLE r P\x41SSWOR\u0044 ''le\x61k'''",
            r"EXECUTE E'ALTER ROLE r PASSWORD ''***'''",
        ),
        (
            r"EXECUTE E'ALTER ROLE r P\x41SSWORD \'leak\''",
            r"EXECUTE E'ALTER ROLE r PASSWORD ''***'''",
        ),
        (
            r"SELECT set_config(E'app.p\141ssword', 'leak', false)",
            "SELECT set_config(E'***', '***', false)",
        ),
        (
            r"SELECT dblink(U&'host=h p\0061ssword=leak')",
            "SELECT dblink(U&'host=h password=***')",
        ),
        (
            r"SELECT dblink(U&'host=h p!0061ssword=leak' UESCAPE '!')",
            "SELECT dblink(U&'***' UESCAPE '!')",
        ),
        (
            r#"SET app.U&"p\0061ssword" = 'leak'"#,
            r#"SET app.U&"p\0061ssword" = '***'"#,
        ),
        (
            r"SELECT '\xdeadbeef'::bytea, E'\x41'",
            r"SELECT '\xdeadbeef'::bytea, E'\x41'",
        ),
        ("SELECT 1", "SELECT 1"),
        ("", ""),
    ] {
        assert_eq!(sql(text), expected, "{text}");
        assert_eq!(sql(expected), expected, "masked twice");
        assert_eq!(
            prose(expected),
            expected,
            "masked by a door that reads prose"
        );
    }
}

#[test]
fn statements_of_mariadb_lose_their_secrets_and_nothing_else() {
    let check = |text: &str, expected: &str| {
        for text in [text, expected] {
            let masked = mask_sql(text, Dialect::MariaDb, PLAIN);
            assert_eq!(masked.text, expected, "{text}");
        }
    };
    for (text, expected) in [
        (
            "CREATE USER a@'127.0.0.1' IDENTIFIED BY 'x\\'y'",
            "CREATE USER a@'127.0.0.1' IDENTIFIED BY '***'",
        ),
        (
            "CREATE USER a@'h' IDENTIFIED BY \"x\"",
            "CREATE USER a@'h' IDENTIFIED BY \"***\"",
        ),
        (
            "CREATE USER a@'h' IDENTIFIED BY *****",
            "CREATE USER a@'h' IDENTIFIED BY *****",
        ),
        (
            "CREATE USER a@'h' IDENTIFIED BY PASSWORD '*94BDCEBE'",
            "CREATE USER a@'h' IDENTIFIED BY PASSWORD '***'",
        ),
        (
            "ALTER USER a@'h' IDENTIFIED VIA ed25519 USING PASSWORD('x') OR unix_socket OR p AS 'y' REQUIRE SUBJECT 's'",
            "ALTER USER a@'h' IDENTIFIED VIA ed25519 USING PASSWORD('***') OR unix_socket OR p AS '***' REQUIRE SUBJECT 's'",
        ),
        (
            "ALTER USER a IDENTIFIED WITH p BY 'x' REPLACE 'y' COMMENT 'c'",
            "ALTER USER a IDENTIFIED WITH p BY '***' REPLACE '***' COMMENT 'c'",
        ),
        (
            "GRANT ALL ON *.* TO 'a'@'h' IDENTIFIED BY 'x' WITH GRANT OPTION",
            "GRANT ALL ON *.* TO 'a'@'h' IDENTIFIED BY '***' WITH GRANT OPTION",
        ),
        ("SET PASSWORD = 'x'", "SET PASSWORD = '***'"),
        (
            "SET PASSWORD FOR a@'h' = PASSWORD(*****)",
            "SET PASSWORD FOR a@'h' = PASSWORD(*****)",
        ),
        (
            "SET PASSWORD FOR 'a'@'h' = PASSWORD('x')",
            "SET PASSWORD FOR 'a'@'h' = PASSWORD('***')",
        ),
        (
            "SET PASSWORD FOR 'a'@'h' = 'x'",
            "SET PASSWORD FOR 'a'@'h' = '***'",
        ),
        (
            "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD='x', MASTER_PORT=3306",
            "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD='***', MASTER_PORT=3306",
        ),
        (
            "START SLAVE USER='u' PASSWORD='x'",
            "START SLAVE USER='u' PASSWORD='***'",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', PASSWORD 'x')",
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', PASSWORD '***')",
        ),
        (
            "CREATE TABLE t (id int) ENGINE=FEDERATED CONNECTION='mysql://u:pw@h:3306/d/t'",
            "CREATE TABLE t (id int) ENGINE=FEDERATED CONNECTION='mysql://u:***@h:3306/d/t'",
        ),
        (
            "PREPARE s FROM 'ALTER USER a IDENTIFIED BY ''x'''",
            "PREPARE s FROM 'ALTER USER a IDENTIFIED BY ''***'''",
        ),
        (
            r#"EXECUTE IMMEDIATE "SET PASSWORD FOR a = 'x'""#,
            r#"EXECUTE IMMEDIATE "SET PASSWORD FOR a = '***'""#,
        ),
        (
            "SELECT AES_ENCRYPT('data', 'key') # password",
            "SELECT AES_ENCRYPT('***', '***') # password",
        ),
        (
            "/*!50003 CREATE USER a IDENTIFIED BY 'x' */",
            "/*!50003 CREATE USER a IDENTIFIED BY '***' */",
        ),
        (
            "CREATE USER a IDENTIFIED BY 'lea",
            "CREATE USER a IDENTIFIED BY '***",
        ),
        (
            "INSERT INTO `password` VALUES (_utf8'a')",
            "INSERT INTO `password` VALUES (_utf8'***')",
        ),
        (
            "SELECT `pan` FROM t WHERE pan = \"4111111111111111\"",
            "SELECT `pan` FROM t WHERE pan = \"************1111\"",
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn prose_loses_what_it_quotes() {
    for (text, expected) in [
        (
            "password authentication failed for user \"ghost\"",
            "password authentication failed for user \"ghost\"",
        ),
        (
            "SQL statement \"ALTER ROLE r1 PASSWORD 'leak-3'\"",
            "SQL statement \"ALTER ROLE r1 PASSWORD '***'\"",
        ),
        (
            "parameter \"app.secret\" changed to \"S3cret\"",
            "parameter \"app.secret\" changed to \"***\"",
        ),
        (
            "parameter \"work_mem\" changed to \"8MB\"",
            "parameter \"work_mem\" changed to \"8MB\"",
        ),
        (
            "invalid value for parameter \"x.password\": \"abc\"",
            "invalid value for parameter \"x.password\": \"***\"",
        ),
        (
            "Key (pan)=(4111111111111111) already exists.",
            "Key (pan)=(************1111) already exists.",
        ),
        (
            "Authorization: Basic dXNlcjpxdw==\nnext",
            "Authorization: ***\nnext",
        ),
        (
            "curl -H 'Authorization: Bearer abc.def'",
            "curl -H 'Authorization: ***'",
        ),
        ("sent Bearer abc.def to h", "sent Bearer *** to h"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
        (
            "connection authenticated: identity=\"dba\" method=scram-sha-256 (/srv/pg_hba.conf:87)",
            "connection authenticated: identity=\"dba\" method=scram-sha-256 (/srv/pg_hba.conf:87)",
        ),
        ("{\"password\":\"a\\\"b\",\"x\":1}", "{\"***"),
    ] {
        assert_eq!(prose(text), expected, "{text}");
        assert_eq!(prose(expected), expected, "masked twice");
    }
}

#[test]
fn card_numbers_by_scheme_length_and_check_digit() {
    for (text, expected) in [
        ("4111111111111111", "************1111"),
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("5500 0000 0000 0004", "**** **** **** 0004"),
        ("4012-8888-8888-1881", "****-****-****-1881"),
        ("371449635398431", "***********8431"),
        ("3714.496353.98431", "****.******.*8431"),
        ("41 1111 11111 111 11", "** **** ***** *11 11"),
        (
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "****\u{a0}****\u{a0}****\u{a0}1111",
        ),
        (
            "id 17 4111 1111 1111 1111 12",
            "id 17 **** **** **** 1111 12",
        ),
        ("x4111111111111111y", "x************1111y"),
        (
            "6011000990139424 30569309025904 3530111333300000",
            "************9424 **********5904 ************0000",
        ),
        ("00004111111111111111000", "0000************1111000"),
        (
            "4111111111111111=29121011234567",
            "************1111=**************",
        ),
        (
            "%B4111111111111111^DOE/J^29121011234?x",
            "%B************1111^*****************?x",
        ),
        (
            "\u{ff14}\u{ff11}11\u{3000}1111\u{2013}1111 1\u{661}11",
            "****\u{3000}****\u{2013}**** 1\u{661}11",
        ),
        // As bytes in hexadecimal, whatever stands before the first pair.
        (
            "x'34313131313131313131313131313131'",
            "x'************31313131'",
        ),
        (
            "a35353030203030303020303030302030303034f",
            "a****20****20****2030303034f",
        ),
        (
            "0x343131313131313131313131313131313d3239313231303131323334353637",
            "0x************313131313d**************",
        ),
        (
            "x'34313131313131313131313131313132'",
            "x'34313131313131313131313131313132'",
        ),
        (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        // Not card numbers: check digit, prefix, length, an eight-byte number, a UUID, times.
        ("4111111111111112", "4111111111111112"),
        ("9111111111111111", "9111111111111111"),
        ("411111111111", "411111111111"),
        ("164111111111111111", "164111111111111111"),
        (
            "5d2f4e1a-4111-1111-1111-111111111111",
            "5d2f4e1a-4111-1111-1111-111111111111",
        ),
        ("2026-11-23 04:42:05.319 EST", "2026-11-23 04:42:05.319 EST"),
        ("+45 12 34 56 78", "+45 12 34 56 78"),
    ] {
        assert_eq!(prose(text), expected, "{text}");
        assert_eq!(
            sql(&format!("SELECT '{text}'")),
            format!("SELECT '{expected}'")
        );
    }
    let six = MaskOptions { keep_first6: true };
    let masked = mask_plain("5500 0000 0000 0004", Dialect::PostgreSql, six);
    assert_eq!(masked.text, "5500 00** **** 0004");
    assert_eq!(
        masked.redactions,
        vec![Redaction {
            kind: Kind::Pan,
            count: 1
        }]
    );
}

#[test]
fn a_placeholder_in_the_place_of_a_secret_masks_the_parameters() {
    for (text, expected) in [
        ("UPDATE u SET password = $1 WHERE id = $2", true),
        ("SELECT pgp_sym_encrypt($1, $2)", true),
        ("INSERT INTO c(pan, cvv) VALUES ($1, $2)", true),
        ("INSERT INTO payment(holder,pan) VALUES ($1,$2)", false),
    ] {
        let masked = mask_sql(text, Dialect::PostgreSql, PLAIN);
        assert_eq!(masked.parameters_too, expected, "{text}");
    }
}

#[test]
fn the_door_masks_again_and_says_so() {
    let json = br#"{"database":{"name":"d4111111111111111"},"query_info":{"query_string":"UPDATE u SET password = $1"},"raw_data":"..hunter2..","unmapped":{"parameters":"hunter2"}}"#;
    let mut event = Event::merge(None, None, None).unwrap();
    assert_eq!(recheck(&mut event, Dialect::PostgreSql, PLAIN), 0);
    let mut event: Event<'_> = serde_json::from_slice(json).unwrap();
    assert_eq!(recheck(&mut event, Dialect::PostgreSql, PLAIN), 3);
    let after = String::from_utf8(event.to_json()).unwrap();
    assert!(
        !after.contains("hunter2") && !after.contains("4111111111111111"),
        "{after}"
    );
    assert!(
        after.contains(r#"{"path":"database.name","kind":"pan","count":1}"#),
        "{after}"
    );
    assert_eq!(
        recheck(&mut event, Dialect::PostgreSql, PLAIN),
        0,
        "nothing is left"
    );
}

/// Text that may stand around a secret, rich in what the lexer knows.
fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~]{0,30}",
        "[-'\"$/*eE;(),=<>\\\\a \n]{0,30}",
        "(SELECT |password |'|\"|\\$\\$|\\$a\\$|--|/\\*|\\*/|E'|://|@|x|,|=|\n){0,12}",
    ]
}

/// One character, in one of the ways that PostgreSQL reads.
fn written(c: char, form: u8) -> String {
    let code = u32::from(c);
    match form {
        0 => format!("\\x{code:02x}"),
        1 => format!("\\u{code:04x}"),
        2 => format!("\\U{code:08X}"),
        3 => format!("\\{code:03o}"),
        4 if c.is_ascii_digit() => char::from_u32(code - 0x30 + 0xFF10).unwrap().to_string(),
        _ => c.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_card_number_survives_whatever_stands_around_it(before in around(), after in around(), statement in any::<bool>()) {
        // Digits that touch the number make another number; see the module for what happens then.
        let before = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        for pan in ["4111111111111111", "5500 0000 0000 0004", "371449635398431"] {
            let text = format!("{before}{pan}{after}");
            let masked = if statement { sql(&text) } else { prose(&text) };
            prop_assert!(!masked.contains(pan), "{masked}");
        }
    }

    #[test]
    fn no_password_survives_whatever_stands_around_the_statement(before in around(), after in around(), statement in any::<bool>()) {
        for form in ["PASSWORD 'pl4nted-s3cret'", "password='pl4nted-s3cret'", "PGPASSWORD=pl4nted-s3cret", "PASSWORD $q$pl4nted-s3cret$q$"] {
            let text = format!("{before} {form} {after}");
            let masked = if statement { sql(&text) } else { prose(&text) };
            prop_assert!(!masked.contains("pl4nted-s3cret"), "{text:?} gave {masked:?}");
        }
        for form in ["IDENTIFIED BY 'pl4nted-s3cret'", "PASSWORD = \"pl4nted-s3cret\"", "IDENTIFIED VIA x USING 'a' OR y AS 'pl4nted-s3cret'"] {
            let text = format!("{before} {form} {after}");
            let masked = if statement { mask_sql(&text, Dialect::MariaDb, PLAIN) } else { mask_plain(&text, Dialect::MariaDb, PLAIN) };
            prop_assert!(!masked.text.contains("pl4nted-s3cret"), "{text:?} gave {masked:?}");
        }
    }

    #[test]
    fn no_escape_hides_a_card_number(before in around(), after in around(), forms in prop::collection::vec(0..8_u8, 16), statement in any::<bool>()) {
        let before = before.trim_end_matches(|c: char| c.is_ascii_hexdigit() || c == '\\');
        let after = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        let encoded: String = "5500000000000004".chars().zip(&forms).map(|(c, form)| written(c, *form)).collect();
        let text = format!("{before}E'{encoded}'{after}");
        let masked = if statement { sql(&text) } else { prose(&text) };
        prop_assert!(!masked.contains(&encoded), "{text:?} gave {masked:?}");
        let again = if statement { sql(&masked) } else { prose(&masked) };
        prop_assert_eq!(again, masked);
    }

    #[test]
    fn no_hexadecimal_hides_a_card_number(before in around(), after in around(), odd in any::<bool>(), statement in any::<bool>()) {
        // Hexadecimal digits that touch the number make another number, like digits do.
        let before = before.trim_end_matches(|c: char| c.is_ascii_hexdigit());
        let after = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        for pan in ["4111111111111111", "5500 0000 0000 0004", "371449635398431"] {
            let hex: String = pan.bytes().map(|byte| format!("{byte:02x}")).collect();
            let nibble = if odd { "c" } else { "" };
            for text in [format!("{before}X'{nibble}{hex}'{after}"), format!("{before}E'\\\\x{hex}'{after}"), format!("{before}{nibble}{hex}{after}")] {
                let masked = if statement { sql(&text) } else { prose(&text) };
                prop_assert!(!masked.contains(&hex), "{text:?} gave {masked:?}");
            }
            let text = format!("SELECT {nibble}, X'{nibble}{hex}' {hex}");
            let once = sql(&text);
            prop_assert_eq!(sql(&once), once);
        }
    }

    #[test]
    fn no_escape_hides_a_password(before in around(), after in around(), forms in prop::collection::vec(0..8_u8, 8), statement in any::<bool>()) {
        let word: String = "password".chars().zip(&forms).map(|(c, form)| if *form == 4 { c.to_string() } else { written(c, *form) }).collect();
        let text = format!("{before} SELECT dblink(E'host=h {word}=pl4nted-s3cret') {after}");
        let masked = if statement { sql(&text) } else { prose(&text) };
        prop_assert!(!masked.contains("pl4nted-s3cret"), "{text:?} gave {masked:?}");
        let again = if statement { sql(&masked) } else { prose(&masked) };
        prop_assert_eq!(again, masked);
    }

    #[test]
    fn masking_twice_is_masking_once(text in around(), pan in any::<bool>(), more in around()) {
        for dialect in [Dialect::PostgreSql, Dialect::MariaDb] {
            let once = mask_sql(&text, dialect, PLAIN).text.into_owned();
            prop_assert_eq!(&mask_sql(&once, dialect, PLAIN).text, &once);
            let once = mask_plain(&text, dialect, PLAIN).text.into_owned();
            prop_assert_eq!(&mask_plain(&once, dialect, PLAIN).text, &once);
        }
        let text = if pan { format!("{text} PASSWORD 'x' 4111111111111111 {more}") } else { format!("{text}{more}") };
        let once = sql(&text);
        prop_assert_eq!(sql(&once), once);
        let once = prose(&text);
        prop_assert_eq!(prose(&once), once);
    }
}

/// Whether the tokens of a text are in order and leave nothing but blanks between them.
fn is_total(text: &str, dialect: Dialect) -> bool {
    let mut last = 0;
    let ordered = Lexer::new(text, dialect).all(|token| {
        let blank = |from: usize, to: usize| {
            let between = text.as_bytes().get(from..to);
            between.is_some_and(|between| between.iter().all(u8::is_ascii_whitespace))
        };
        let fits = blank(last, token.start) && token.end > token.start;
        last = token.end;
        fits && text.is_char_boundary(token.start) && text.is_char_boundary(token.end)
    });
    ordered && text[last..].bytes().all(|byte| byte.is_ascii_whitespace())
}

#[test]
fn no_text_stalls_the_lexer_or_keeps_a_secret() {
    let strategy = (around(), around(), any::<bool>());
    crate::reading_tests::for_a_while(&strategy, |(before, after, statement)| {
        let digit = |c: char| c.is_ascii_digit();
        let (head, tail) = (
            before.trim_end_matches(digit),
            after.trim_start_matches(digit),
        );
        let with_card = format!("{head}4111111111111111{tail}");
        let with_password = format!("{before} PASSWORD 'pl4nted-s3cret' {after}");
        for dialect in [Dialect::PostgreSql, Dialect::MariaDb] {
            for (text, secret) in [
                (&with_card, "4111111111111111"),
                (&with_password, "pl4nted-s3cret"),
            ] {
                prop_assert!(is_total(text, dialect), "{text:?}");
                let masked = if statement {
                    mask_sql(text, dialect, PLAIN)
                } else {
                    mask_plain(text, dialect, PLAIN)
                };
                prop_assert!(!masked.text.contains(secret), "{text:?} gave {masked:?}");
                prop_assert!(!is_clean(text), "{text:?}");
            }
        }
        Ok(())
    });
}

/// Writes a number of a kind.
type Draw = fn(u64) -> String;

/// Numbers that are no card numbers, drawn from a seed: a name, how to draw one, and how many of a
/// million may be masked.
const OTHER_NUMBERS: [(&str, Draw, u32); 10] = [
    (
        "query ids, signed 64 bits",
        |n| n.cast_signed().to_string(),
        40_000,
    ),
    (
        "keys of 16 digits",
        |n| format!("{:016}", n % 10_u64.pow(16)),
        40_000,
    ),
    (
        "times in ms since 1970",
        |n| (1_577_836_800_000 + n % 600_000_000_000).to_string(),
        0,
    ),
    (
        "times in ns since 1970",
        |n| (1_577_836_800_000_000_000 + n % 600_000_000_000_000_000).to_string(),
        0,
    ),
    ("times as text", |n| at(n, "%Y-%m-%d %H:%M:%S%.3f"), 0),
    ("times as digits", |n| at(n, "%Y%m%d%H%M%S%3f"), 0),
    (
        "UUIDs",
        |n| {
            let (a, b) = (mixed(n), mixed(n ^ 1));
            format!(
                "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
                a >> 32,
                a & 0xffff,
                a >> 20 & 0xfff,
                0x8000 | (b >> 48 & 0x3fff),
                b & 0xffff_ffff_ffff
            )
        },
        0,
    ),
    (
        "digests in hexadecimal",
        |n| format!("{:016x}{:016x}", mixed(n), mixed(n ^ 1)),
        2_000,
    ),
    (
        "telephone numbers, +CC in pairs",
        |n| {
            format!(
                "+{} {:02} {:02} {:02} {:02}",
                30 + n % 69,
                n >> 8 & 63,
                n >> 16 & 63,
                n >> 24 & 63,
                n >> 32 & 63
            )
        },
        0,
    ),
    (
        "telephone numbers, +1 NPA-NXX-XXXX",
        |n| {
            format!(
                "+1 {}-{}-{:04}",
                200 + n % 800,
                200 + (n >> 16) % 800,
                (n >> 32) % 10_000
            )
        },
        0,
    ),
];

/// A time of the years 2020 to 2038.
fn at(n: u64, form: &str) -> String {
    let ms = 1_577_836_800_000 + i64::try_from(n % 600_000_000_000).unwrap();
    let time = jiff::Timestamp::from_millisecond(ms).unwrap();
    time.strftime(form).to_string()
}

/// A well-mixed number from a seed (SplitMix64).
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many of the sample's numbers are masked, and prints the rate that docs/threat-model.md
/// states: `cargo test --release -p collectors-formats -- --nocapture false_positives`.
#[test]
fn false_positives_of_numbers_that_are_no_cards() {
    const DRAWN: u32 = 200_000;
    for (name, draw, allowed) in OTHER_NUMBERS {
        let masked = (0..u64::from(DRAWN)).filter(|n| {
            let text = format!("id = {}, next", draw(mixed(*n)));
            prose(&text) != text
        });
        let rate = u32::try_from(masked.count()).unwrap() * (1_000_000 / DRAWN);
        println!("{name}: {rate} of 1,000,000 are masked");
        assert!(rate <= allowed, "{name}: {rate} of a million");
    }
}

#[test]
fn time_is_linear_in_the_text() {
    // Each text would take hours if any step were quadratic.
    let n = 200_000;
    for unit in [
        "password='x' ",
        "crypt(",
        "'",
        "$a$",
        "/*",
        "4 ",
        "4111111111111111 ",
        "password ",
        "://a:b@",
        "\"password\":",
        "E'\\",
        "\\x34",
        "34",
        "c34",
        "\\",
        "\\\\x70assword=E'",
        "-p ",
        "password=a,",
        "bearer ",
        "PRIVATE KEY-----",
    ] {
        let text = unit.repeat(n / unit.len());
        let _ = (sql(&text), prose(&text));
    }
}

/// What a door pays for clean bytes: `cargo test --release -p collectors-formats -- --ignored
/// cost`.
#[test]
#[ignore = "prints figures"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn cost_of_recheck_on_clean_bytes() {
    let json = include_bytes!("clean_event.json");
    let mut best = f64::MAX;
    let rounds = 200_000_u32;
    let mut event: Event<'_> = Event::parse(json.trim_ascii()).unwrap();
    let mut bytes = 0;
    event.texts_mut(&mut |_, text| bytes += text.len());
    for _ in 0..5 {
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let n = recheck(std::hint::black_box(&mut event), Dialect::PostgreSql, PLAIN);
            assert_eq!(std::hint::black_box(n), 0);
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(rounds) * 1e6);
    }
    println!(
        "recheck: event of {} bytes, {bytes} bytes of text: {best:.2} µs",
        json.len()
    );
}
