//! Why a request is refused.

use super::response::refusal;
use super::status::Status;
use alloc::vec::Vec;
use core::fmt;

/// Why a request is refused. The connection ends after [`BadRequest::response`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// The head breaks the grammar, lacks a field that it needs, or repeats one that must be alone.
    Malformed,
    /// What the request asks for is not for this client. Only callers give it.
    Forbidden,
    /// Nothing lives at the path. Only callers give it.
    NotFound,
    /// The method is neither GET nor HEAD.
    Method,
    /// The request has content.
    Content,
    /// The head has more than [`super::LONGEST_HEAD`] bytes or more than [`super::MOST_FIELDS`] fields.
    HeadTooLarge,
    /// What is asked for needs WebSocket, version 13.
    UpgradeRequired,
}

impl BadRequest {
    /// The status code that says so.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BadRequest,
            Self::Forbidden => Status::Forbidden,
            Self::NotFound => Status::NotFound,
            Self::Method => Status::MethodNotAllowed,
            Self::Content => Status::ContentTooLarge,
            Self::HeadTooLarge => Status::HeadTooLarge,
            Self::UpgradeRequired => Status::UpgradeRequired,
        }
    }

    /// The whole response. It has no content, so that it is right for a HEAD request, too.
    #[must_use]
    pub fn response(self) -> Vec<u8> {
        refusal(self)
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the request is malformed",
            Self::Forbidden => "the request is not granted",
            Self::NotFound => "there is nothing at the path",
            Self::Method => "the method is neither GET nor HEAD",
            Self::Content => "the request has content",
            Self::HeadTooLarge => "the head of the request is too long",
            Self::UpgradeRequired => "the request is not for WebSocket version 13",
        })
    }
}

impl core::error::Error for BadRequest {}
