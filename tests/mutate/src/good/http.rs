//! What HTTP servers answer (RFC 9110, 9112).
//! Other answers are left to the tests of their reader.

/// With all fields that anybody here reads.
pub const HEAD: &str = "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\ncontent-RANGE: bytes 5-9/10\r\nContent-Length:5\r\n\
    Last-Modified: Mon\r\nLocation: /x\r\nRetry-After: 7\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX: y\r\n\r\n";
/// A body in chunks, and its end.
pub const CHUNKS: &[u8] = b"5;a=b\r\nhello\r\n1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n";
