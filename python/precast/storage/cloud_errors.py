"""From what a client of object stores reports to errors that say what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from precast.errors import (
    AccessDeniedError,
    CertificateError,
    ObjectNotFoundError,
    PrecastError,
    StorageError,
)
from precast.storage.cloud_clients import plain_reason

__all__ = [
    "NO_UPLOAD",
    "Failure",
    "NotNowError",
    "NotOfferedError",
    "Request",
    "explain",
    "is_wrong_region",
    "translate",
    "understand",
]

PERMISSIONS = {
    "s3": {
        "read": "s3:GetObject",
        "write": "s3:PutObject",
        "list": "s3:ListBucket",
        "delete": "s3:DeleteObject",
        "read the CORS rules": "s3:GetBucketCORS",
        "change the CORS rules": "s3:PutBucketCORS",
        "read the policy": "s3:GetBucketPolicy",
        "change the policy": "s3:PutBucketPolicy",
        "read the public-access block": "s3:GetBucketPublicAccessBlock",
        "copy": "s3:GetObject and s3:PutObject",
    },
    "gs": {
        "read": "storage.objects.get",
        "write": "storage.objects.create, and storage.objects.delete to replace one",
        "list": "storage.objects.list",
        "delete": "storage.objects.delete",
        "read the settings": "storage.buckets.get",
        "change the CORS rules": "storage.buckets.update",
        "read the policy": "storage.buckets.getIamPolicy",
        "change the policy": "storage.buckets.setIamPolicy",
        "make the managed folder": "storage.managedFolders.create",
        "read the policy of the managed folder": "storage.managedFolders.getIamPolicy",
        "change the policy of the managed folder": "storage.managedFolders.setIamPolicy",
    },
    "az": {
        "read": "the role Storage Blob Data Reader",
        "write": "the role Storage Blob Data Contributor",
        "list": "the role Storage Blob Data Reader",
        "delete": "the role Storage Blob Data Contributor",
        "read the CORS rules": "the role Storage Account Contributor, or the account's key",
        "change the CORS rules": "the role Storage Account Contributor, or the account's key",
        "read the access level": "the role Storage Blob Data Owner, or the account's key; signatures (SAS) cannot",
        "change the access level": "the role Storage Blob Data Owner, or the account's key; signatures (SAS) cannot",
    },
}
DOING = {
    "read": "reading",
    "write": "writing",
    "list": "listing",
    "delete": "deleting",
    "read the CORS rules": "reading the CORS rules of",
    "change the CORS rules": "changing the CORS rules of",
    "read the policy": "reading the policy of",
    "change the policy": "changing the policy of",
    "read the public-access block": "reading the public-access block of",
    "copy": "copying",
    "read the settings": "reading the settings of",
    "make the managed folder": "making the managed folder",
    "read the policy of the managed folder": "reading the policy of the managed folder",
    "change the policy of the managed folder": "changing the policy of the managed folder",
    "read the access level": "reading the access level of",
    "change the access level": "changing the access level of",
}

BAD_CREDENTIALS = {
    "InvalidAccessKeyId": "the store does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "TokenRefreshRequired": "the credentials have expired",
    "InvalidToken": "the session token is not good",
    "InvalidTokenId": "the session token is not good",
    "AuthenticationFailed": "the account does not accept the credentials",
    "InvalidAuthenticationInfo": "the account does not accept the credentials",
    "authError": "Google does not accept the credentials",
}
SIGN_IN = {
    "s3": "aws sts get-caller-identity tells which are used; AWS_PROFILE or --profile chooses others",
    "gs": "gcloud auth application-default login makes new ones",
    "az": "az login makes new ones; look at AZURE_STORAGE_ACCOUNT and its key too",
}
REFUSALS = ("PermissionDeniedError", "UnauthenticatedError")
"""Of the client's errors."""

NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName")
NO_UPLOAD = ("NoSuchUpload",)
"""Also if an upload is complete, and the answer that said so was lost."""

NO_OBJECT = ("NoSuchKey", "BlobNotFound", "NotFound")
WRONG_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
NO_STORE = (
    "the answer is not that of an object store",
    "check --endpoint: it is the address of the store's interface, not of its web console or a proxy",
)
LATER = "try again later"
NOT_AS_AGREED = (
    (
        "non-partial response when range requested",
        "the server ignores Range and sends the whole object",
        "viewers need byte ranges; a proxy in front of the store may take them away",
    ),
    ("request or response body error", "the connection was lost half-way", LATER),
    ("error sending request", "the connection was lost half-way", LATER),
    ("missing from response", *NO_STORE),
    ("invalid list response", *NO_STORE),
)
BUSY = ("SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded")


class NotNowError(StorageError):
    """The store is busy or did not answer: the same request may succeed later."""


class NotOfferedError(StorageError):
    """The server has no such setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was to be done.

    Attributes
    ----------
    scheme, bucket
        The bucket.
    action
        ``read``, ``write``, ``list``, ``delete``, or another of the keys of :data:`PERMISSIONS`.
    where
        The object, or the prefix that was listed, with its address.
    signed
        Whether it was sent with credentials.
    anonymous
        Whether it was not because the user asked for that.
    endpoint
        The server, if it is not the store's own.
    """

    scheme: str
    bucket: str
    action: str
    where: str
    signed: bool = True
    anonymous: bool = False
    endpoint: str = ""

    @property
    def place(self) -> str:
        """The bucket's address."""
        return f"{self.scheme}://{self.bucket}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What the client says of a request that failed.

    Attributes
    ----------
    status
        The status of the answer; 0 if there was none.
    code, message
        The store's own words; empty if it sent none.
    foreign
        Whether the answer has a body that is none of a store, but perhaps of a proxy.
    reason
        The first line of the client's error, without what may be secret.
    debug
        All of it, to look into and not to show.
    """

    status: int
    code: str
    message: str
    foreign: bool
    reason: str
    debug: str


def understand(error: BaseException) -> Failure:
    """Read an error of the client."""
    text = str(error)
    shown = text.partition("\n\nDebug source:")[0]
    status = _found(r"status code: (\d{3})", shown)
    code = _found(r"<Code>\s*([^<]{1,100}?)\s*</Code>", shown) or _found(r"\(code: ([A-Za-z]\w*)\)", shown)
    if not status and not code:  # of what was deleted by Azure, nothing but this is told
        status = _found(r"\(code: (\d{3})\)", shown)
        code = "ContainerNotFound" if "container does not exist" in shown else ""
    return Failure(
        status=int(status or 0),
        code=code,
        message=" ".join(_found(r"<Message>\s*([^<]{1,300}?)\s*</Message>", shown).split()),
        foreign=not code and _found(r"status code: \d{3}[^:]*:(.*)", shown).strip() != "",
        reason=plain_reason(text),
        debug=text,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    return match[1] if match else ""


def is_wrong_region(scheme: str, failure: Failure) -> bool:
    """Tell whether the bucket is in another region than the one that was asked, which is of Amazon's store alone."""
    if scheme != "s3":
        return False
    return failure.code in WRONG_REGION or failure.status in (301, 307) or "without LOCATION" in failure.reason


def translate(error: BaseException, request: Request, *, region: str = "") -> PrecastError:
    """Return the error to raise.

    Parameters
    ----------
    error
        What the client raised.
    request
        What was to be done.
    region
        The bucket's region, if that is known and not the one that was asked.
    """
    kind = type(error).__name__
    return explain(
        understand(error),
        request,
        region=region,
        missing=isinstance(error, FileNotFoundError),
        refused=kind in REFUSALS,
    )


def explain(
    failure: Failure, request: Request, *, region: str = "", missing: bool = False, refused: bool = False
) -> PrecastError:
    """Return the error to raise for a failure that is understood; see :func:`translate`."""
    where = request.where
    if failure.code in NO_BUCKET:
        # not an object that is missing, which may stand for empty space
        return StorageError(
            f"there is no bucket {request.place}" + (f" at {request.endpoint}" if request.endpoint else ""),
            hint="check its name"
            + ("" if request.endpoint else ", and --endpoint if it is on a server of another kind"),
            where=where,
        )
    if is_wrong_region(request.scheme, failure):
        text = f"{request.place} is in another region"
        hint = "give its region with --region or AWS_REGION"
        if region:
            text, hint = f"{request.place} is in the region {region}", f"give --region {region}"
        return StorageError(text, hint=hint, where=where)
    if failure.code in NO_UPLOAD:
        text = (
            f"{DOING[request.action]} {where} failed: the store no longer has the parts that were sent ({failure.code})"
        )
        return StorageError(text, hint="run the same command again; what is finished is kept", where=where)
    if missing or failure.status == 404 or failure.code in NO_OBJECT:
        return _missing(request, failure)
    if failure.code in BAD_CREDENTIALS or failure.status in (401, 403) or refused:
        return _refused(request, failure)
    return _answered(request, failure) if failure.status or failure.code else _no_answer(request, failure)


def _missing(request: Request, failure: Failure) -> PrecastError:
    if failure.foreign:
        text = f"{DOING[request.action]} {request.where} failed: {NO_STORE[0]} ({failure.status})"
        return StorageError(text, hint=NO_STORE[1], where=request.where)
    return ObjectNotFoundError(f"{request.where} does not exist", hint="check the address", where=request.where)


def _refused(request: Request, failure: Failure) -> AccessDeniedError:
    if failure.code in BAD_CREDENTIALS:
        text = f"{request.where}: {BAD_CREDENTIALS[failure.code]} ({failure.code})"
        return AccessDeniedError(text, hint=SIGN_IN[request.scheme], where=request.where)
    if failure.code == "RequestTimeTooSkewed":
        text = f"{request.where}: the clock of this machine is wrong"
        return AccessDeniedError(text, hint="set it", where=request.where)
    permission = PERMISSIONS[request.scheme][request.action]
    doing = DOING[request.action]
    said = f" ({failure.code or failure.status})"
    if request.anonymous:
        text = f"{request.where}: {doing} without credentials is refused{said}"
        return AccessDeniedError(text, hint="leave out --anonymous", where=request.where)
    if not request.signed:
        return AccessDeniedError(
            f"{request.where}: no credentials were found, and {doing} without any is refused{said}",
            hint={
                "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a profile with --profile",
                "gs": "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
                "az": "az login, or set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN",
            }[request.scheme],
            where=request.where,
        )
    hint = f"the credentials need {permission}"
    if request.scheme == "s3" and request.action == "read":
        hint += "; without s3:ListBucket, S3 also says so of objects that do not exist"
    return AccessDeniedError(f"{request.where}: {doing} is refused{said}", hint=hint, where=request.where)


def _answered(request: Request, failure: Failure) -> StorageError:
    said = ": ".join(part for part in (failure.code, failure.message) if part)
    status = f"status {failure.status}" if failure.status else "an error"  # in an answer with status 200
    text = f"{DOING[request.action]} {request.where} failed: the store answers with {status}"
    hint = "" if failure.status else LATER
    later = not failure.status
    if failure.status in (429, 503) or failure.code in BUSY:
        hint, later = "it is busy: try again later; finished parts are kept", True
    elif failure.status >= 500:
        hint, later = LATER, True
    kind = NotNowError if later else StorageError
    return kind(f"{text}, {said}" if said else text, hint=hint, where=request.where)


def _no_answer(request: Request, failure: Failure) -> StorageError:
    """Say why there is no answer; what the client knows of that stands in its debugging text."""
    host = request.endpoint or f"the store of {request.place}"
    debug = failure.debug
    if "invalid peer certificate" in debug or "CertificateError" in debug or "InvalidCertificate" in debug:
        return CertificateError(f"{host}: its certificate is not valid", hint="renew it", where=request.where)
    if "dns error" in debug or "failed to lookup address" in debug:
        text = f"there is no host of the name that {host} has"
        return NotNowError(text, hint="check --endpoint and the network", where=request.where)
    if "ConnectionRefused" in debug or "kind: Connect" in debug:
        text = f"nothing answers at {host}"
        return NotNowError(text, hint="check --endpoint, the network and that the server runs", where=request.where)
    if "TimedOut" in debug or "kind: Timeout" in debug:
        text = f"{host} did not answer in time"
        return NotNowError(text, hint="check the network, or try again later", where=request.where)
    known = next(((text, hint) for sign, text, hint in NOT_AS_AGREED if sign in failure.reason), None)
    text, hint = known or (failure.reason, "")
    kind = NotNowError if hint == LATER else StorageError
    return kind(f"{DOING[request.action]} {request.where} failed: {text}", hint=hint, where=request.where)
